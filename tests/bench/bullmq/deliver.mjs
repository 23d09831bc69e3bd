// The same deliveries with BullMQ: `node deliver.mjs fill|work`, configured by the environment.
//
// fill pushes EVENTS jobs and ends. work takes jobs, CONCURRENCY at once, and POSTs each over kept-alive connections
// with undici, Node's fastest HTTP client, until it is killed. Finished jobs are removed, as Lynkhook's are.

import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";
import { Pool } from "undici";

const { PORT, EVENTS, CONCURRENCY, URL: url, CA, AGENT, ENVELOPE } = process.env;
const connection = { host: "127.0.0.1", port: Number(PORT), maxRetriesPerRequest: null };
const name = "events";
const page = 1000;

async function fill(events) {
  const queue = new Queue(name, { connection });
  const opts = { removeOnComplete: true, attempts: 3, backoff: { type: "exponential", delay: 2000 } };
  for (let pushed = 0; pushed < events; pushed += page) {
    const jobs = Array.from({ length: Math.min(page, events - pushed) }, (_, n) => {
      const data = { account: "a0", envelope: ENVELOPE, id: `${Date.now() * 1000}-${pushed + n}` };
      return { name: "event", data, opts };
    });
    await queue.addBulk(jobs);
  }
  await queue.close();
}

function work(concurrency) {
  const { origin, pathname: path } = new URL(url);
  const pool = new Pool(origin, { connections: concurrency, pipelining: 1, connect: { ca: readFileSync(CA) } });
  const deliver = async ({ data: { id, envelope } }) => {
    const headers = {
      accept: "*/*",
      "content-type": "application/json",
      "user-agent": AGENT,
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
    };
    const { statusCode, body } = await pool.request({ method: "POST", path, headers, body: envelope });
    await body.dump();
    if (statusCode < 200 || statusCode > 299) throw new Error(`status ${statusCode}`);
  };
  new Worker(name, deliver, { connection, concurrency }).on("error", console.error);
}

if (process.argv[2] === "fill") await fill(Number(EVENTS));
else work(Number(CONCURRENCY));
