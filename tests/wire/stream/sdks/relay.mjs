// Webhooks as Stream sends them, and what became of them in the queue, both judged by Stream's own SDK. Reads JSON and prints JSON.
//
// `send`: signs each body as Stream does, lets the SDK verify that signature and the one that it is given, and POSTs it.
// `parse`: parses bodies of the queue.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { StreamChat } from 'stream-chat';

const { RELAY_URL: url, STREAM_KEY: key, STREAM_SECRET: secret } = process.env;
const client = new StreamChat(key, secret);
const input = JSON.parse(readFileSync(0, 'utf8'));

async function send({ id, json, gzip, signature: ours, secret: signedWith }) {
  const signature = createHmac('sha256', signedWith ?? secret).update(json).digest('hex');
  const body = gzip ? gzipSync(json) : Buffer.from(json);
  const headers = { 'X-Api-Key': key, 'X-Signature': signature, 'X-Webhook-Id': id, 'X-Webhook-Attempt': '1' };
  if (gzip) headers['Content-Encoding'] = 'gzip';
  const answer = await fetch(url, { method: 'POST', headers, body });
  return { verifies: client.verifyWebhook(json, signature), ours: client.verifyWebhook(json, ours), code: answer.status };
}

function parse(body) {
  try {
    const event = client.parseSqs(body);
    return { type: event.type, cid: event.cid, text: event.message.text };
  } catch (error) {
    return error.message;
  }
}

const output = [];
for (const one of input) output.push(process.argv[2] === 'send' ? await send(one) : parse(one));
console.log(JSON.stringify(output));
