// A plain producer that uses only Node's standard library: reads one account per line, and pushes its event.
//
//     node produce.mjs PORT PREFIX PARTITIONS < accounts

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import * as zlib from "node:zlib";

// Node has zlib.crc32 from version 20.15.
const crc32 = zlib.crc32 ?? ((text) => {
  let crc = ~0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
});

const [port, prefix, partitions] = process.argv.slice(2);
const accounts = readFileSync(0, "utf8").split(/\s+/).filter(Boolean);
const connection = connect(Number(port), "127.0.0.1");
let replies = 0;
let text = "";
connection.on("data", (chunk) => {
  text += chunk;
  if (text.includes("-ERR")) throw new Error(text);
  replies = text.split("$").length - 1;
  if (replies === accounts.length) connection.end();
});
for (const account of accounts) {
  const queue = `${prefix}:{${crc32(account) % Number(partitions)}}:queue`;
  const data = { messageId: `node-${account}` };
  const envelope = JSON.stringify({ event: "transcript.created", timestamp: "2026-03-26T14:32:00Z", data });
  const command = ["XADD", queue, "*", "account", account, "envelope", envelope];
  connection.write(`*${command.length}\r\n` + command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`).join(""));
}
