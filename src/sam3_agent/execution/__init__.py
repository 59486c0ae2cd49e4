"""Plan -> masks and answers. `media` (what is looked at), `seeing` (one encode per picture, one batch of phrases),
`pool` (the things in one picture), `geometry` (rules on masks), `select` (expressions -> things), `tracks` (video),
`answers` (actions -> outcome) and `replies` (the words of the outcome).
"""
