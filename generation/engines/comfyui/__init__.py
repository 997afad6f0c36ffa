"""ComfyUI: workflows, their marks, and one or many servers."""
