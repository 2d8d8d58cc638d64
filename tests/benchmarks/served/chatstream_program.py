"""The published chatstream behind uvicorn: its README's program, with the role middleware that its requests need.

Run by a Python that has it: FOLDER PORT SLOTS NEW_TOKENS.
"""

import sys

import torch
import uvicorn
from chatstream import ChatPromptMetaLlamaLlama2Chat, ChatStream
from chatstream.access_control.default_client_role_grant_middleware import DefaultClientRoleGrantMiddleware
from fastapi import FastAPI, Request
from fastsession import FastSessionMiddleware, MemoryStore
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, port, slots, new_tokens = sys.argv[1], *map(int, sys.argv[2:5])
torch.set_num_threads(1)
chat_stream = ChatStream(
    num_of_concurrent_executions=slots,
    max_queue_size=16,
    model=AutoModelForCausalLM.from_pretrained(folder),
    tokenizer=AutoTokenizer.from_pretrained(folder),
    device="cpu",
    chat_prompt_clazz=ChatPromptMetaLlamaLlama2Chat,
    max_new_tokens=new_tokens,
    context_len=4096,
    temperature=0.7,
    top_k=50,
    top_p=0.7,
    repetition_penalty=1.0,
)
app = FastAPI()
app.add_middleware(DefaultClientRoleGrantMiddleware, chat_stream=chat_stream)
app.add_middleware(
    FastSessionMiddleware, secret_key="of a benchmark", store=MemoryStore(), http_only=True, secure=False
)


@app.post("/chat_stream")
async def stream_api(request: Request):
    return await chat_stream.handle_chat_stream_request(request)


@app.on_event("startup")
async def startup():
    await chat_stream.start_queue_worker()


uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
