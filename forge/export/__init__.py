"""Adapters in the forms that other programs read: PEFT, merged weights, GGUF, Ollama, and launch lines of servers.

In: adapter versions of the store and the folder of the base they were trained from. Out: one new folder, whole or
not at all, with a README that says how to run it and an `export.json` that says what it was made of. Needs no network
and no torch: tensors are read and written as numpy arrays, one at a time.

    request.py       what is exported: versions, base, quantisation
    tensors.py       safetensors files, bfloat16 included
    lora.py          a PEFT adapter as pairs of matrices; base weights with an adapter added
    architecture.py  the numbers of a base's config.json
    tokenizer.py     what GGUF can say of a tokenizer, and which tokenizers it cannot
    chat.py          the base's chat template, and the fixed texts it puts around a message
    merged.py        merged weights, marked so that training refuses them
    gguf_file.py     base or merged weights, and adapters, as GGUF
    quantise.py      GGUF at fewer bits
    ollama.py        a Modelfile and a tag a stage
    servers.py       launch lines: llama-server, vLLM, SGLang, LoRAX, TGI
    readme.py        what the README of an export says
    formats.py       the names of all these, and the folder that is written

A merged model is an export, never a training input: `forge.training.base` refuses the mark that it carries.
"""
