"""The parts of a stream: capture (newest frame wins), events, numbers for Prometheus, the page, and the loop of them all."""
