// The app behind a front: app.mjs PORT DELAY_MS. It reads each request and answers after the delay.
import http from "node:http";

const [port, delay] = process.argv.slice(2).map(Number);
const server = http.createServer((request, response) => {
    request.resume().on("end", () => setTimeout(() => response.end("ok"), delay));
});
// No front keeps an idle connection longer than this, so none uses a connection that the app has just closed.
server.keepAliveTimeout = 120_000;
server.listen(port, "127.0.0.1", 2048);
