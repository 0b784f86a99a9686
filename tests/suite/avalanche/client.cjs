// Asks a node by the client library of its own people: the method of 2020 where the library has it, else today's.
const [library, port] = process.argv.slice(2);
const { Avalanche } = require(library);
const node = new Avalanche('127.0.0.1', Number(port), 'http', 12345);
const health = node.Health();
const answer = health.getLiveness ? health.getLiveness() : health.health();
answer.then((result) => console.log(JSON.stringify(result))).catch((error) => {
  console.error(error);
  process.exit(1);
});
