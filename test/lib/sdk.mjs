// The official SDKs against an endpoint: each streams an answer, calls a tool and gives its result back, reads a whole answer, and
// is refused when it breaks the API's rules. node sdk.mjs FOLDER-OF-PACKAGES ORIGIN
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , folder, origin] = process.argv;
const require = createRequire(path.join(folder, 'x.js'));
const { OpenAI } = require('openai');
const Anthropic = require('@anthropic-ai/sdk').default ?? require('@anthropic-ai/sdk');
const { GoogleGenAI } = require('@google/genai');
let done = 0;

function same(a, b, what) {
  if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${what}: ${JSON.stringify(a)} is not ${JSON.stringify(b)}`);
  done++;
}

async function refused(promise, status, what) {
  try {
    await promise;
  } catch (e) {
    same(e.status, status, what);
    return;
  }
  throw new Error(`${what}: it was not refused`);
}

const schema = { type: 'object', properties: { path: { type: 'string' } }, required: ['path'], additionalProperties: false };

async function chat() {
  const client = new OpenAI({ apiKey: 'key-for-tests', baseURL: origin + '/v1', maxRetries: 0 });
  const tools = [{ type: 'function', function: { name: 'read', description: 'Read.', parameters: schema } }];
  const messages = [{ role: 'user', content: 'go' }];
  const first = await client.chat.completions.stream({ model: 'm', messages, tools, stream: true, stream_options: { include_usage: true } })
    .finalChatCompletion();
  same(first.choices[0].message.tool_calls[0].function, { name: 'read', arguments: '{"path": "a.txt"}' }, 'chat call');
  same(first.usage.prompt_tokens, 1000, 'chat usage');
  messages.push({ role: 'assistant', content: null, tool_calls: first.choices[0].message.tool_calls.map(({ id, type, function: f }) =>
    ({ id, type, function: { name: f.name, arguments: f.arguments } })) });
  await refused(client.chat.completions.create({ model: 'm', messages, tools }), 400, 'chat without a result');
  messages.push({ role: 'tool', tool_call_id: messages[1].tool_calls[0].id, content: 'one' });
  const second = await client.chat.completions.create({ model: 'm', messages, tools });
  same(second.choices[0].message.content, 'All done.', 'chat text');
  await refused(new OpenAI({ apiKey: 'other', baseURL: origin + '/v1', maxRetries: 0 }).chat.completions.create({ model: 'm', messages }),
    401, 'chat key');
}

async function responses() {
  const client = new OpenAI({ apiKey: 'key-for-tests', baseURL: origin + '/v1', maxRetries: 0 });
  const tools = [{ type: 'function', name: 'read', description: 'Read.', parameters: schema, strict: false }];
  const input = [{ role: 'user', content: 'go' }];
  const common = { model: 'm', tools, store: false, include: ['reasoning.encrypted_content'] };
  const first = await client.responses.stream({ ...common, input }).finalResponse();
  same(first.output.map((o) => o.type), ['reasoning', 'message', 'function_call'], 'responses items');
  same(first.output_text, 'Let me see.', 'responses text');
  // What the SDK adds for its user is not the API's.
  const items = first.output.map(({ parsed_arguments: parsed, ...item }) => item);
  const call = items[2];
  await refused(client.responses.create({ ...common, input: [...input, call] }), 400, 'responses without reasoning');
  await refused(client.responses.create({ ...common, input: [...input, ...items] }), 400, 'responses without a result');
  const second = await client.responses.create({ ...common,
    input: [...input, ...items, { type: 'function_call_output', call_id: call.call_id, output: 'one' }] });
  same(second.output_text, 'All done.', 'responses second');
}

async function messages() {
  const client = new Anthropic({ apiKey: 'key-for-tests', baseURL: origin, maxRetries: 0 });
  const tools = [{ name: 'read', description: 'Read.', input_schema: schema }];
  const history = [{ role: 'user', content: 'go' }];
  const first = await client.messages.stream({ model: 'm', max_tokens: 100, messages: history, tools }).finalMessage();
  same(first.content.map((b) => b.type), ['thinking', 'text', 'tool_use'], 'messages blocks');
  same(first.content[2].input, { path: 'a.txt' }, 'messages call');
  same(first.usage.cache_read_input_tokens, 900, 'messages usage');
  const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: first.content[2].id, content: 'one' }] };
  await refused(client.messages.create({ model: 'm', max_tokens: 100, tools,
    messages: [...history, { role: 'assistant', content: first.content.slice(1) }, result] }), 400, 'messages without thinking');
  await refused(client.messages.create({ model: 'm', max_tokens: 100, tools,
    messages: [...history, { role: 'assistant', content: [{ ...first.content[0], thinking: 'changed' }, ...first.content.slice(1)] }, result] }),
    400, 'messages with changed thinking');
  const second = await client.messages.create({ model: 'm', max_tokens: 100, tools,
    messages: [...history, { role: 'assistant', content: first.content }, result] });
  same(second.content[0].text, 'All done.', 'messages second');
}

async function gemini() {
  const client = new GoogleGenAI({ apiKey: 'key-for-tests', httpOptions: { baseUrl: origin } });
  const config = { tools: [{ functionDeclarations: [{ name: 'read', description: 'Read.', parametersJsonSchema: schema }] }] };
  const contents = [{ role: 'user', parts: [{ text: 'go' }] }];
  const parts = [];
  let usage;
  for await (const chunk of await client.models.generateContentStream({ model: 'm', contents, config })) {
    parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
    usage = chunk.usageMetadata ?? usage;
  }
  const call = parts.find((p) => p.functionCall);
  same(call.functionCall.args, { path: 'a.txt' }, 'gemini call');
  same(usage.promptTokenCount, 1000, 'gemini usage');
  const result = { role: 'user', parts: [{ functionResponse: { name: 'read', response: { output: 'one' } } }] };
  await refused(client.models.generateContent({ model: 'm', contents: [...contents, { role: 'model', parts: [{ functionCall: call.functionCall }] }, result],
    config }), 400, 'gemini without its signature');
  const second = await client.models.generateContent({ model: 'm', contents: [...contents, { role: 'model', parts: [call] }, result], config });
  same(second.text, 'All done.', 'gemini second');
}

for (const run of [chat, responses, messages, gemini]) await run();
console.log(`${done} checks`);
