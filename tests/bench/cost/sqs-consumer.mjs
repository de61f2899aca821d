// sqs-consumer in batch mode, as its documentation has it: node sqs-consumer.mjs QUEUE_URL INSTANCES
import { gunzipSync } from "node:zlib";
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const [queueUrl, instances] = process.argv.slice(2);
const sqs = new SQSClient({ endpoint: new URL(queueUrl).origin, region: "us-east-1" });

function parse(body) {
  const json = body.startsWith("{") ? body : gunzipSync(Buffer.from(body, "base64")).toString("utf8");
  return JSON.parse(json);
}

let last;
for (let index = 0; index < Number(instances); index++) {
  const consumer = Consumer.create({
    queueUrl,
    sqs,
    batchSize: 10,
    waitTimeSeconds: 20,
    handleMessageBatch: async (messages) => {
      for (const message of messages) last = parse(message.Body);
      return messages;
    },
  });
  for (const kind of ["error", "processing_error", "timeout_error"]) {
    consumer.on(kind, (error) => {
      console.error(`${kind}: ${error.message}`);
      process.exit(1);
    });
  }
  consumer.start();
}
