// What the loopback provider is asked to do, and what a client must make of it.
export const url = process.env.ASTROLABE_TEST_URL;

const script = (...turns) => "script: " + JSON.stringify({ turns });

export const weather = script(
  { calls: [{ name: "get_weather", arguments: { city: "Paris" } }] },
  { text: "It is {find:sunny} in {find:Paris}." },
);
export const weatherAnswer = "It is sunny in Paris.";
export const getWeather = ({ city }) => `sunny in ${city}`;
export const weatherTool = {
  name: "get_weather",
  description: "Tell the weather in a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

export const words = script({ text: "one two three four", chunks: 4 });
export const wordsAnswer = "one two three four";

export const twoTurns = script({ text: "one" }, { text: "two" });
export const place = script({ text: JSON.stringify({ city: "Paris" }) });
