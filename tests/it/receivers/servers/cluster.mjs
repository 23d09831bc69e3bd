// An app of two processes that terminate TLS themselves: cluster.mjs PORT. On SIGHUP it replaces them one by one, as
// `pm2 reload` does: the new process listens first, the old one gets SIGTERM and 1.6 s to end.
import cluster from "node:cluster";
import fs from "node:fs";
import https from "node:https";

const KILL_TIMEOUT_MS = 1600;

if (cluster.isPrimary) {
    const start = () =>
        new Promise((resolve) => {
            const worker = cluster.fork();
            worker.once("listening", () => resolve(worker));
        });
    const workers = [await start(), await start()];
    process.on("SIGHUP", async () => {
        for (const [at, old] of workers.entries()) {
            workers[at] = await start();
            old.process.kill("SIGTERM");
        }
    });
} else {
    const tls = { cert: fs.readFileSync("certificate.pem"), key: fs.readFileSync("key.pem") };
    const server = https.createServer(tls, (request, response) => {
        console.log(`${request.socket.remoteAddress}:${request.socket.remotePort}`);
        request.resume().on("end", () => response.end("ok"));
    });
    server.listen(Number(process.argv[2]), "127.0.0.1");
    // The handler that every guide shows: no new connections, close idle ones, finish the requests.
    process.on("SIGTERM", () => {
        server.close(() => process.exit(0));
        setTimeout(() => process.exit(0), KILL_TIMEOUT_MS);
    });
}
