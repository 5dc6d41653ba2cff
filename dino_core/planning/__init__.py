"""What a run costs before it is begun: arithmetic, memory and time, worked out in meta memory."""
