import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { getWeather, place, twoTurns, url, weather, weatherAnswer, words, wordsAnswer } from "../scripts.mjs";

const openai = createOpenAI({ baseURL: url, apiKey: "any" });
const inputSchema = z.object({ city: z.string() });
const weatherTool = tool({ description: "Tell the weather in a city.", inputSchema, execute: getWeather });
const tools = { get_weather: weatherTool };

// By default the SDK asks for responses, and names earlier items by their ids.
const models = { chat: openai.chat("any-model"), responses: openai("any-model") };
for (const model of Object.values(models)) {
  // A tool loop, whole and streamed.
  const options = { model, tools, prompt: weather, stopWhen: stepCountIs(3), maxRetries: 0 };
  assert.equal((await generateText(options)).text, weatherAnswer);
  assert.equal(await streamText(options).text, weatherAnswer);

  // A stream.
  let text = "";
  for await (const piece of streamText({ model, prompt: words }).textStream) text += piece;
  assert.equal(text, wordsAnswer);

  // Two turns: the second answer shows that the model read the first.
  const messages = [{ role: "user", content: twoTurns }];
  const first = await generateText({ model, messages, maxRetries: 0 });
  messages.push(...first.response.messages, { role: "user", content: "Go on." });
  const second = await generateText({ model, messages, maxRetries: 0 });
  assert.deepEqual([first.text, second.text], ["one", "two"]);

  // An object.
  const object = Output.object({ schema: z.object({ city: z.string() }) });
  assert.deepEqual((await generateText({ model, prompt: place, output: object })).output, { city: "Paris" });
}

// A chain, and no trace.
const { providerMetadata } = await generateText({ model: models.responses, prompt: twoTurns });
const previousResponseId = providerMetadata.openai.responseId;
const chained = { model: models.responses, prompt: "Go on.", providerOptions: { openai: { previousResponseId } } };
assert.equal((await generateText(chained)).text, "two");
const unstored = { model: models.responses, tools, prompt: weather, stopWhen: stepCountIs(3) };
const providerOptions = { openai: { store: false } };
assert.equal((await generateText({ ...unstored, providerOptions })).text, weatherAnswer);
