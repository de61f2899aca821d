require "json"

$stdout.sync = true
$stdin.each_line do |line|
  request = JSON.parse(line)
  next if request["cancel"] # the daemon kills this program soon, unless it answers
  answer = { message_id: request["message_id"], outcome: "done" }
  begin
    warn request["event"]["type"] # your work; what goes to standard error is in the log
  rescue => error
    answer.merge!(outcome: "retry", error: error.message)
  end
  puts answer.to_json
end
