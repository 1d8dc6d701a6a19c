# A fork shares what was said, and goes its own way from there; what was written before is read under its old name.
model call bash {"command": "seq 1 9000"}
model say First answer.
model call read {"path": "output:4.1", "start": 8000, "count": 1}
model say Second answer.
user  one thing
expect status 0
fork  --last "another thing"
expect status 0
expect screen "goes on from event 9 of"
expect event session mode=open
expect event end outcome=done
expect event session parent_seq=9
expect event user text="another thing"
expect event result text~"8000"
expect screen "Second answer."
expect request user "one thing"
expect request user "another thing"
resume "more"
expect status 5
fork  nonsense
expect status 2
expect screen "no session begins with"
fork  --last too many words
expect status 2
