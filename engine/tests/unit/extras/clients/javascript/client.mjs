// The official JavaScript SDK against the service at process.argv[2], with the key in SLUICE_KEY: one line of JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: process.env.SLUICE_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "How much overlap do chunks have?" }];
const weather = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const overlap = {
  type: "object",
  properties: { answer: { type: "string" }, tokens: { type: "integer" } },
  required: ["answer", "tokens"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", parameters: weather, strict: true } }];
const format = { type: "json_schema", json_schema: { name: "overlap", strict: true, schema: overlap } };
const ask = { model: "sluice", messages };

const whole = await client.chat.completions.create({ ...ask, tools, tool_choice: "required" });
const streamed = await client.chat.completions.stream({ ...ask, tools, tool_choice: "required" }).finalChatCompletion();
const parsed = await client.chat.completions.parse({ ...ask, response_format: format });
const response = await client.responses.create({ model: "sluice", input: messages });
const events = [];
const stream = await client.responses.create({
  model: "sluice",
  input: messages,
  stream: true,
  text: { format: { type: "json_schema", name: "overlap", strict: true, schema: overlap } },
});
for await (const event of stream) events.push(event);
let refused;
try {
  await client.chat.completions.create({ ...ask, n: 2 });
} catch (error) {
  refused = { status: error.status, param: error.param };
}
console.log(
  JSON.stringify({
    called: [whole, streamed].map((one) => one.choices[0].message.tool_calls[0].function),
    parsed: parsed.choices[0].message.parsed ?? JSON.parse(parsed.choices[0].message.content),
    response: response.output_text,
    last: events.at(-1).type,
    text: events.filter((one) => one.type === "response.output_text.delta").map((one) => one.delta).join(""),
    refused,
  }),
);
