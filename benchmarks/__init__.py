"""One file per question; each prints one JSON object with its floor measured in the same run."""
