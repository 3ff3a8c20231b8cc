// Responses by OpenAI's SDK for Node, the same in all its versions.
import assert from "node:assert/strict";
import { getWeather, weather, weatherAnswer, weatherTool } from "./scripts.mjs";

// A response that calls the tool, and a streamed one that continues it.
export async function checkResponses(client, model) {
  const tools = [{ type: "function", ...weatherTool, strict: false }];
  const first = await client.responses.create({ model, input: weather, tools });
  const [call] = first.output;
  const output = getWeather(JSON.parse(call.arguments));
  const input = [{ type: "function_call_output", call_id: call.call_id, output }];
  const events = client.responses.stream({ model, input, tools, previous_response_id: first.id });
  let answer = "";
  for await (const event of events) if (event.type === "response.output_text.delta") answer += event.delta;
  assert.equal(answer, weatherAnswer);
  assert.equal((await events.finalResponse()).status, "completed");
}
