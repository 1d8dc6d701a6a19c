# A question waits for a person and holds nothing; its answer is any words, or the number of a choice.
user    which one?
model   call ask {"question": "Which colour?", "choices": ["red", "green"]}
model+  call bash {"command": "echo after > after.txt"}
expect  event ask kind=question why="Which colour?" choices~green
expect  screen "asks: Which colour?"
expect  screen "2  green"
expect  screen "--answer CALL=WORDS"
expect  no-file after.txt
expect  status 3
resume  --answer all=yes
expect  no-event reply
expect  status 3
resume  --answer 4.1=2
model   call ask {"question": "Why?"}
expect  event reply answer=2
expect  event result outcome=ok text="The user answers: green"
expect  file after.txt after\n
expect  status 3
resume  --answer 14.1=abort
model   say Thanks.
expect  event result outcome=ok text="The user answers: abort"
expect  event end outcome=done
expect  status 0
