import assert from "node:assert/strict";
import OpenAI from "openai";
import { checkResponses } from "../responses.mjs";
import { getWeather, url, weather, weatherAnswer, weatherTool, words, wordsAnswer } from "../scripts.mjs";

const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0 });
const model = "any-model";

// A tool loop, whole and streamed: the runner sends each response's message back as it is.
for (const stream of [false, true]) {
  const runner = client.beta.chat.completions.runTools({
    model,
    stream,
    messages: [{ role: "user", content: weather }],
    tools: [{ type: "function", function: { ...weatherTool, function: getWeather, parse: JSON.parse } }],
  });
  assert.equal(await runner.finalContent(), weatherAnswer);
}

// A stream.
let text = "";
const messages = [{ role: "user", content: words }];
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, wordsAnswer);

// A run of an assistant with a tool.
const { threads, assistants } = client.beta;
const assistant = await assistants.create({ model, tools: [{ type: "function", function: weatherTool }] });
const thread = await threads.create({ messages: [{ role: "user", content: weather }] });
const calls = [];
const stream = threads.runs.stream(thread.id, { assistant_id: assistant.id });
stream.on("toolCallDone", (call) => calls.push(call));
const run = await stream.finalRun();
assert.equal(run.status, "requires_action");
assert.equal(calls.length, 1);
const tool_outputs = [
  { tool_call_id: calls[0].id, output: getWeather(JSON.parse(calls[0].function.arguments)) },
];
const ended = await threads.runs.submitToolOutputsAndPoll(thread.id, run.id, { tool_outputs });
assert.equal(ended.status, "completed");
const [message] = (await threads.messages.list(thread.id)).data;
assert.equal(message.content[0].text.value, weatherAnswer);

await checkResponses(client, model);
