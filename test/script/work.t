# Every tool once, two readers in one answer, and the log in the order of events.
file    notes.txt hello\nworld\n
user    put the moon in
model   say I will look.
model+  call read {"path": "notes.txt"}
model+  call read {"path": "notes.txt", "start": 2, "count": 1}
expect  event session harness.name=coder tier=none mode=open
expect  event user text="put the moon in"
expect  event request repeated=0
expect  event answer text="I will look."
expect  event intent call~".1"
expect  event intent call~".2"
expect  event result outcome=ok
expect  event result outcome=ok
expect  event request
model   call edit {"path": "notes.txt", "edits": [{"old": "world", "new": "moon"}]}
expect  event intent tool=edit effect=probe
expect  event result outcome=ok text~"1 replacement at line 2"
model   call bash {"command": "cat notes.txt; exit 3"}
expect  event intent tool=bash effect=opaque
expect  event result outcome=error exit=3 text~"moon"
model   call write {"path": "sub/new.txt", "content": "fresh\n"}
expect  event result outcome=ok text~"Created"
model   say Done.
expect  event end outcome=done requests=5 calls=5
expect  screen "Done."
expect  file notes.txt hello\nmoon\n
expect  file sub/new.txt fresh\n
expect  status 0
