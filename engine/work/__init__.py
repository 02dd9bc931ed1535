"""Work that takes longer than a blink or must survive a crash: kinds of it, the queue, the store, units and rows."""
