import { createInterface } from "node:readline";

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { message_id, cancel, event } = JSON.parse(line);
  if (cancel) return; // the daemon kills this program soon, unless it answers
  let answer = { message_id, outcome: "done" };
  try {
    console.error(event.type); // your work; what goes to standard error is in the log
  } catch (error) {
    answer = { message_id, outcome: "retry", error: String(error) };
  }
  console.log(JSON.stringify(answer));
});
