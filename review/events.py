"""The event types of the review app. Past tense, dotted: "review.object.happened"."""
