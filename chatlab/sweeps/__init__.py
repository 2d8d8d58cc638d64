"""One question a thousand times: tasks by the hash of their inputs, on any executor, resumed where it broke off."""
