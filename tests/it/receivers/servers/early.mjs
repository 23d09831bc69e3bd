// An app that answers 401 and closes before it has read the request's body: early.mjs PORT close|destroy. After `close`
// Node ends TLS with close_notify; after `destroy` it does not.
import fs from "node:fs";
import https from "node:https";

const [port, how] = process.argv.slice(2);
const tls = { cert: fs.readFileSync("certificate.pem"), key: fs.readFileSync("key.pem") };
const server = https.createServer(tls, (request, response) => {
    console.log(`${request.socket.remoteAddress}:${request.socket.remotePort}`);
    request.socket.on("error", () => {});
    response.writeHead(401, { connection: "close", "content-length": 0 });
    response.end(() => how === "destroy" && request.socket.destroy());
});
server.listen(Number(port), "127.0.0.1");
