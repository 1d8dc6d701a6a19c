# A word on calls that do not wait is refused when it names one, and harmless when it says all.
user    go
model   say Done.
resume  --decide all=skip more
model   say More.
expect  status 0
resume  --decide 4.1=skip x
expect  status 2
expect  screen "no call 4.1"
resume  --decide all=perhaps x
expect  status 2
expect  screen "done, retry, skip or abort"
