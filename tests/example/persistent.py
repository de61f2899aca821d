import json, sys

for line in sys.stdin:
    request = json.loads(line)
    if request.get("cancel"):
        continue  # the daemon kills this program soon, unless it answers
    answer = {"message_id": request["message_id"], "outcome": "done"}
    try:
        event = request["event"]
        print(event["type"], file=sys.stderr)  # your work; what is printed to stderr goes to the log
    except Exception as error:
        answer |= {"outcome": "retry", "error": str(error)}
    print(json.dumps(answer), flush=True)
