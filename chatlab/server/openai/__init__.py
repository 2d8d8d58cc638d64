"""The OpenAI face: pure readers of request bodies and writers of answers, and the routes that join them to the server."""
