// People who talk in the chat of tests/apps/chat: node chatters.js URL TRANSPORTS COUNT. Each says a line, waits until
// it is answered and heard, and says the next one; a line that is not answered is said again. Prints what came of it
// ten times a second, until standard input ends.

const { io } = require('socket.io-client');

const [url, transports, count] = process.argv.slice(2);
const report = { answered: 0, connects: 0, versions: {}, pids: [], wrong: [] };
let stopping = false;

const pids = new Set();

async function talk(person) {
  const socket = io(url, {
    transports: transports.split(','),
    // Node's client keeps cookies only with this.
    withCredentials: true,
    forceNew: true,
    rejectUnauthorized: false,
    retries: 20,
    ackTimeout: 4000,
    reconnectionDelay: 20,
    reconnectionDelayMax: 100,
  });
  const heard = new Set();
  socket.on('connect', () => (report.connects += 1));
  socket.on('said', (text) => heard.add(text));
  for (let round = 0; !stopping; round += 1) {
    const text = `${person}: line ${round}`;
    const answer = await socket.emitWithAck('say', text);
    if (answer.text !== text) report.wrong.push(`${text} was answered by ${JSON.stringify(answer)}`);
    if (!heard.has(text)) report.wrong.push(`${text} was not heard`);
    heard.clear();
    report.answered += 1;
    report.versions[answer.version] = (report.versions[answer.version] ?? 0) + 1;
    pids.add(answer.pid);
  }
  socket.close();
}

const tell = () => console.log(JSON.stringify({ ...report, pids: [...pids] }));
const telling = setInterval(tell, 100);
process.stdin.on('end', () => (stopping = true)).resume();

Promise.all(Array.from({ length: Number(count) }, (_, person) => talk(person))).then(
  () => {
    clearInterval(telling);
    tell();
  },
  (error) => {
    report.wrong.push(String(error));
    tell();
    process.exit(1);
  },
);
