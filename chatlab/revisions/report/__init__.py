"""The forms of a comparison: terminal, HTML, Markdown, and one probe explained. No verdict is drawn here."""
