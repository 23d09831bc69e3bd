// The client to compare with, Node's fetch: fetch.mjs URL LOCAL_ADDRESS BODY_FILE BURST EVERY_MS TURNS. It POSTs the
// body BURST times every EVERY_MS, then prints one line of JSON: the number of requests, and the lost ones by reason.
//
// The connections come from LOCAL_ADDRESS, so that a server that counts by address can tell this client from the
// worker. `fetch` has no option for that, but its Agent has. So this is another Agent of the class that `fetch` uses by
// itself, with all other options at their defaults (keep-alive included).
import fs from "node:fs";
import { setTimeout } from "node:timers/promises";

const [url, localAddress, file] = process.argv.slice(2);
const [burst, every, turns] = process.argv.slice(5).map(Number);
const LIMIT_MS = 10_000;

// Node loads its client with the first fetch.
await fetch("data:,");
const Agent = globalThis[Symbol.for("undici.globalDispatcher.1")].constructor;
const dispatcher = new Agent({ localAddress });
const body = fs.readFileSync(file);
const headers = { "content-type": "application/json" };
const lost = {};

async function post() {
    let reason;
    try {
        const signal = AbortSignal.timeout(LIMIT_MS);
        const response = await fetch(url, { method: "POST", body, headers, dispatcher, signal });
        await response.arrayBuffer();
        reason = response.ok ? undefined : `status ${response.status}`;
    } catch (error) {
        reason = error.cause?.code ?? error.cause?.message ?? error.name;
    }
    if (reason !== undefined) lost[reason] = (lost[reason] ?? 0) + 1;
}

console.log("ready");
const requests = [];
const started = performance.now();
for (let turn = 0; turn < turns; turn += 1) {
    const wait = started + turn * every - performance.now();
    if (wait > 0) await setTimeout(wait);
    for (let one = 0; one < burst; one += 1) requests.push(post());
}
await Promise.all(requests);
console.log(JSON.stringify({ made: requests.length, lost }));
process.exit(0);
