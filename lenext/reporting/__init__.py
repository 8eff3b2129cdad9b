"""Tables for the terminal and the offline page of a run; reads run folders, never imports torch."""
