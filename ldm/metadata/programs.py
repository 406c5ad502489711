"""Other programs, whose texts are recognised, but not read.

A file that cannot be read says at least whose it is.
"""

from collections.abc import Mapping
from typing import Any

BY_KEY = {  # keys of the texts in a file
    "invokeai_metadata": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "Dream": "InvokeAI",
    "use_stable_diffusion_model": "Easy Diffusion",
    "Stable Diffusion model": "Easy Diffusion",
    "negative-prompt": "kohya's sd-scripts",
    "fooocus_scheme": "Fooocus",
    "generation_data": "TensorArt",
}
BY_WORD = (  # key, a word in its text
    ("Software", "NovelAI", "NovelAI"),
    ("XML:com.adobe.xmp", "Draw Things", "Draw Things"),
    ("Description", "Job ID: ", "Midjourney"),
)
IN_JSON = {  # keys of a JSON object; all those of a row
    ("sui_image_params",): "SwarmUI",
    ("software", "Prompt"): "RuinedFooocus",
    ("metadata_scheme",): "Fooocus",
    ("base_model",): "Fooocus",
    ("use_stable_diffusion_model",): "Easy Diffusion",
    ("Stable Diffusion model",): "Easy Diffusion",
    ("positive_prompt", "app_version"): "InvokeAI",
    ("image", "model_weights"): "InvokeAI",
    ("c", "uc"): "Draw Things",
    ("Comment", "Software"): "NovelAI",
    ("uc", "steps"): "NovelAI",
}


def program_of_texts(text: Mapping[str, str]) -> str | None:
    """Who wrote the texts of a file; None: nobody known.

    >>> program_of_texts({"Dream": "a cat -s 50 -S 3"}), program_of_texts({"Title": "a cat"})
    ('InvokeAI', None)
    """
    for key, word, program in BY_WORD:
        if word in text.get(key, ""):
            return program
    return next((program for key, program in BY_KEY.items() if key in text), None)


def program_of_json(values: Mapping[str, Any]) -> str:
    """Who wrote a JSON object.

    >>> program_of_json({"sui_image_params": {}}), program_of_json({"a": 1})
    ('SwarmUI', 'another program')
    """
    found = (name for keys, name in IN_JSON.items() if values.keys() >= set(keys))
    return next(found, "another program")
