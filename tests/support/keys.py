"""A key, and the ways in which a server may spell it back."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse

KEY = "sk-abcdEFGH0123456789xyz"


SPELLINGS = {
    "plain": str,
    "upper case": str.upper,
    "its beginning": lambda key: key[:12],
    "its end": lambda key: key[-9:],
    "percent": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "percent twice": lambda key: urllib.parse.quote("".join(f"%{ord(c):02X}" for c in key)),
    "JSON escapes": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON in JSON": lambda key: json.dumps(json.dumps({"authorization": "".join(f"\\u{ord(c):04x}" for c in key)})),
    "HTML": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "escaped HTML": lambda key: html.escape("".join(f"&#x{ord(c):x};" for c in key)),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal with blanks": lambda key: key.encode().hex(" "),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of the header": lambda key: base64.b64encode(b"Bearer " + key.encode()).decode(),
    "base64 for URLs, unpadded": lambda key: base64.urlsafe_b64encode(b"?>" + key.encode()).decode().rstrip("="),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "base64, then percent": lambda key: urllib.parse.quote(base64.b64encode(key.encode()).decode() + "=="),
}
