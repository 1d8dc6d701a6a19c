# Mode ask: what changes something waits for a person, all calls of an answer together; reading is not asked about.
options --mode ask
file    a.txt one\n
user    change it
model   call read {"path": "a.txt"}
model   call edit {"path": "a.txt", "edits": [{"old": "one", "new": "two"}]}
model+  call bash {"command": "echo ran > ran.txt"}
expect  status 3
expect  screen "waits for approval: edit a.txt"
expect  screen "rein resume"
expect  event ask kind=approve about~"edit"
expect  event ask kind=approve about~"bash echo ran"
expect  no-event intent tool=edit
expect  file a.txt one\n
resume
expect  status 3
resume  --answer 99.1=yes
expect  status 2
expect  screen "no call 99.1"
resume  --answer all=maybe
expect  status 2
resume  --answer all=yes
model   say Changed.
expect  status 0
expect  event reply answer=yes
expect  event reply answer=yes
expect  event result outcome=ok
expect  event result outcome=ok
expect  file a.txt two\n
expect  file ran.txt ran\n
