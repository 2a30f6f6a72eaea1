// A webhook's receiver that checks signatures by npm's standardwebhooks. Tells each request as a line of JSON.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

const checker = new Webhook(process.env.KEY);
let status = 204;
const server = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString("utf8");
    let events = null;
    try {
      events = checker.verify(body, request.headers);
    } catch (failed) {
      console.error(failed);
    }
    console.log(JSON.stringify({ events, type: request.headers["content-type"], status }));
    response.writeHead(status).end();
  });
});
await new Promise((done) => server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", done));
console.log(JSON.stringify({ port: server.address().port }));
createInterface({ input: process.stdin }).on("line", (line) => {
  status = Number(line);
  console.log(JSON.stringify({ status }));
});
