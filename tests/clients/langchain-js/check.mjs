import assert from "node:assert/strict";
import { ChatOpenAI } from "@langchain/openai";
import { createAgent, tool } from "langchain";
import { z } from "zod";
import { getWeather, url, weather, weatherAnswer, words, wordsAnswer } from "../scripts.mjs";

const settings = { model: "any-model", apiKey: "any", maxRetries: 0, configuration: { baseURL: url } };
const schema = z.object({ city: z.string() });
const weatherTool = tool(getWeather, { name: "get_weather", description: "Tell the weather in a city.", schema });

for (const useResponsesApi of [false, true]) {
  const model = new ChatOpenAI({ ...settings, useResponsesApi });

  // An agent's tool loop.
  const agent = createAgent({ model, tools: [weatherTool] });
  const { messages } = await agent.invoke({ messages: [{ role: "user", content: weather }] });
  assert.equal(messages.at(-1).text, weatherAnswer);

  // A stream.
  let text = "";
  for await (const chunk of await model.stream(words)) text += chunk.text;
  assert.equal(text, wordsAnswer);
}
