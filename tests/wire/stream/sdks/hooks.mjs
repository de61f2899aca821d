// Reads the event hooks of an app, adds one, reads them again and lets Stream try to send, all by Stream's own SDK.
// Prints what it saw as JSON.
import { StreamChat } from 'stream-chat';

const { STREAM_URL: baseURL, STREAM_KEY: key, STREAM_SECRET: secret, QUEUE: queue } = process.env;
const client = new StreamChat(key, secret, { baseURL });
const before = (await client.getAppSettings()).app;
const added = { hook_type: 'sqs', enabled: true, event_types: [], sqs_queue_url: queue, sqs_region: 'us-east-1', sqs_auth_type: 'resource' };
await client.updateAppSettings({ event_hooks: [...before.event_hooks, added] });
const after = (await client.getAppSettings()).app;
const check = await client.testSQSSettings();
const refused = await new StreamChat(key, 'another secret', { baseURL }).getAppSettings().then(
  () => 'nothing',
  (error) => error.code,
);
const targets = (app) => app.event_hooks.map((hook) => hook.webhook_url ?? hook.sqs_queue_url);
console.log(JSON.stringify({ name: after.name, before: targets(before), after: targets(after), check: check.status, refused }));
