import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { getWeather, url, weather, weatherAnswer, words, wordsAnswer } from "../scripts.mjs";

const model = createOpenAI({ baseURL: url, apiKey: "any" }).chat("any-model");
const inputSchema = z.object({ city: z.string() });
const weatherTool = tool({ description: "Tell the weather in a city.", inputSchema, execute: getWeather });
const tools = { get_weather: weatherTool };

// A tool loop, whole and streamed.
const options = { model, tools, prompt: weather, stopWhen: stepCountIs(3), maxRetries: 0 };
assert.equal((await generateText(options)).text, weatherAnswer);
assert.equal(await streamText(options).text, weatherAnswer);

// A stream.
let text = "";
for await (const piece of streamText({ model, prompt: words }).textStream) text += piece;
assert.equal(text, wordsAnswer);
