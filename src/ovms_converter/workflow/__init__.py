"""What a pipeline hands to a step and reads back from it: variables, results, manifests."""
