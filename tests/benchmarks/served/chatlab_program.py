"""The same program on chatlab: FOLDER PORT SLOTS NEW_TOKENS [REUSE], where REUSE is 0 to read every prompt anew."""

import sys

import torch
import uvicorn
from fastapi import FastAPI, Request

from chatlab.engines.load import load_model
from chatlab.engines.local import LocalEngine
from chatlab.prompts.formats.llama2 import ChatPromptMetaLlamaLlama2Chat
from chatlab.server.chat_stream import ChatStream
from chatlab.tokenizers.load import load_tokenizer

folder, port, slots, new_tokens, *reuse = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
model, tokenizer = load_model(folder), load_tokenizer(folder)
anew = {"engine": LocalEngine(model, tokenizer, decode_rows="auto")}
chat_stream = ChatStream(
    **(anew if reuse == [0] else {"model": model, "device": "cpu"}),
    tokenizer=tokenizer,
    num_of_concurrent_executions=slots,
    max_queue_size=16,
    chat_prompt_clazz=ChatPromptMetaLlamaLlama2Chat,
    max_new_tokens=new_tokens,
    context_len=4096,
    temperature=0.7,
    top_k=50,
    top_p=0.7,
)
app = FastAPI()


@app.post("/chat_stream")
async def stream_api(request: Request):
    return await chat_stream.handle_chat_stream_request(request)


@app.post("/deltas")
async def deltas_api(request: Request):
    return await chat_stream.handle_chat_stream_request(request, wire="delta")


uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
