"""The agent over HTTP, WebSocket and MCP, and the page. A request passes `gate` (who, how much, how large, logged),
then a room: `chat` (OpenAI's shape), `segment`, `sessions`, `feedback`, `stream` (WebSocket), `mcp_tools`, `page`.

    sam3-agent serve --dev --port 8000
"""
