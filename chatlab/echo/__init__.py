"""Where the decoded prompt differs from the prompt, why, and what each way of cutting costs."""
