// Checks openai-go: a tool loop, a stream, a run of an assistant with a tool, and responses.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

const model = "any-model"

type object = map[string]any

func script(turns ...object) string {
	encoded, err := json.Marshal(object{"turns": turns})
	check(err)
	return "script: " + string(encoded)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(got, want string) {
	if got != want {
		log.Fatalf("got %q, want %q", got, want)
	}
}

func getWeather(arguments string) string {
	var place struct{ City string }
	check(json.Unmarshal([]byte(arguments), &place))
	return "sunny in " + place.City
}

func main() {
	client := openai.NewClient(
		option.WithBaseURL(os.Getenv("ASTROLABE_TEST_URL")),
		option.WithAPIKey("any"),
		option.WithMaxRetries(0),
	)
	weather := script(
		object{"calls": []object{{"name": "get_weather", "arguments": object{"city": "Paris"}}}},
		object{"text": "It is {find:sunny} in {find:Paris}."},
	)
	tool := shared.FunctionDefinitionParam{
		Name:       "get_weather",
		Parameters: shared.FunctionParameters{"type": "object", "properties": object{"city": object{"type": "string"}}},
	}
	toolLoop(client, weather, tool)
	stream(client)
	run(client, weather, tool)
	respond(client, weather, tool)
}

func toolLoop(client openai.Client, weather string, tool shared.FunctionDefinitionParam) {
	params := openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(weather)},
		Tools:    []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(tool)},
	}
	completion, err := client.Chat.Completions.New(context.Background(), params)
	check(err)
	message := completion.Choices[0].Message
	params.Messages = append(params.Messages, message.ToParam())
	for _, call := range message.ToolCalls {
		output := getWeather(call.Function.Arguments)
		params.Messages = append(params.Messages, openai.ToolMessage(output, call.ID))
	}
	completion, err = client.Chat.Completions.New(context.Background(), params)
	check(err)
	expect(completion.Choices[0].Message.Content, "It is sunny in Paris.")
}

func stream(client openai.Client) {
	words := script(object{"text": "one two three four", "chunks": 4})
	chunks := client.Chat.Completions.NewStreaming(context.Background(), openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(words)},
	})
	text := openai.ChatCompletionAccumulator{}
	for chunks.Next() {
		text.AddChunk(chunks.Current())
	}
	check(chunks.Err())
	expect(text.Choices[0].Message.Content, "one two three four")
}

func run(client openai.Client, weather string, tool shared.FunctionDefinitionParam) {
	ctx := context.Background()
	assistant, err := client.Beta.Assistants.New(ctx, openai.BetaAssistantNewParams{
		Model: model,
		Tools: []openai.AssistantToolUnionParam{openai.AssistantToolParamOfFunction(tool)},
	})
	check(err)
	thread, err := client.Beta.Threads.New(ctx, openai.BetaThreadNewParams{
		Messages: []openai.BetaThreadNewParamsMessage{{
			Role:    "user",
			Content: openai.BetaThreadNewParamsMessageContentUnion{OfString: openai.String(weather)},
		}},
	})
	check(err)
	started, err := client.Beta.Threads.Runs.New(ctx, thread.ID, openai.BetaThreadRunNewParams{AssistantID: assistant.ID})
	check(err)
	waiting := poll(client, started)
	expect(string(waiting.Status), "requires_action")
	outputs := []openai.BetaThreadRunSubmitToolOutputsParamsToolOutput{}
	for _, call := range waiting.RequiredAction.SubmitToolOutputs.ToolCalls {
		outputs = append(outputs, openai.BetaThreadRunSubmitToolOutputsParamsToolOutput{
			ToolCallID: openai.String(call.ID),
			Output:     openai.String(getWeather(call.Function.Arguments)),
		})
	}
	resumed, err := client.Beta.Threads.Runs.SubmitToolOutputs(
		ctx, thread.ID, waiting.ID, openai.BetaThreadRunSubmitToolOutputsParams{ToolOutputs: outputs})
	check(err)
	expect(string(poll(client, resumed).Status), "completed")
	messages, err := client.Beta.Threads.Messages.List(ctx, thread.ID, openai.BetaThreadMessageListParams{})
	check(err)
	expect(messages.Data[0].Content[0].Text.Value, "It is sunny in Paris.")
}

// poll waits until a run is neither queued nor in progress.
func poll(client openai.Client, run *openai.Run) *openai.Run {
	for run.Status == openai.RunStatusQueued || run.Status == openai.RunStatusInProgress {
		time.Sleep(50 * time.Millisecond)
		var err error
		run, err = client.Beta.Threads.Runs.Get(context.Background(), run.ThreadID, run.ID)
		check(err)
	}
	return run
}

func respond(client openai.Client, weather string, tool shared.FunctionDefinitionParam) {
	params := responses.ResponseNewParams{
		Model: model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(weather)},
		Tools: []responses.ToolUnionParam{responses.ToolParamOfFunction(tool.Name, tool.Parameters, false)},
	}
	first, err := client.Responses.New(context.Background(), params)
	check(err)
	call := first.Output[0]
	output := responses.ResponseInputItemParamOfFunctionCallOutput(getWeather(call.Arguments.OfString))
	output.OfFunctionCallOutput.CallID = openai.String(call.CallID)
	params.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{output}}
	params.PreviousResponseID = openai.String(first.ID)
	events := client.Responses.NewStreaming(context.Background(), params)
	text := ""
	for events.Next() {
		if event := events.Current(); event.Type == "response.output_text.delta" {
			text += event.Delta
		}
	}
	check(events.Err())
	expect(text, "It is sunny in Paris.")
}
