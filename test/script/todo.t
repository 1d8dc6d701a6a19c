# A plan is what the calls add up to; what does not fit it is refused whole.
user    plan it
model   call todo {"steps": [{"id": "1", "what": "read the code", "tools": ["read", "grep"], "state": "doing"}, {"id": "2", "what": "change it", "needs": ["1"], "tools": ["edit"]}]}
expect  event result outcome=ok text~"1 doing: read the code" text~"2 open: change it" text~"[2 of 2 steps open]" plan~"read the code"
model   call todo {"steps": [{"id": "1", "state": "done"}]}
model+  call todo {"steps": [{"id": "3", "state": "open"}]}
model+  call todo {"steps": [{"id": "3", "what": "x", "needs": ["9"]}]}
model+  call todo {"steps": [{"id": "3", "what": "x", "tools": ["teleport"]}]}
model+  call todo {"steps": [{"id": "1", "needs": ["2"]}]}
model+  call todo {"steps": [{"id": "a b", "what": "x"}]}
model+  call todo {"steps": [{"id": "3", "what": "x", "state": "later"}]}
expect  event result outcome=error text~"has to be one of"
expect  event result outcome=error text~"says its outcome"
expect  event result outcome=error text~"says what it is"
expect  event result outcome=error text~"needs \"9\""
expect  event result outcome=error text~"uses \"teleport\""
expect  event result outcome=error text~"needs itself"
expect  event result outcome=error text~"id is up to 20"
model   call todo {"steps": [{"id": "1", "state": "done", "outcome": "the bug is in x.c"}, {"id": "2", "state": "doing"}]}
expect  event result outcome=ok text~"1 done: read the code" text~"2 doing: change it" text~"[1 of 2 steps open]"
model   say Later.
expect  status 0
fork    --last "go on"
model   call todo {"steps": [{"id": "2", "state": "dropped"}]}
expect  event result outcome=ok text~"1 done: read the code" text~"2 dropped: change it" text~"[0 of 2 steps open]"
model   say Done.
