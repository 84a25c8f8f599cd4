import MartletClient

let url = CommandLine.arguments.dropFirst().first ?? "ws://127.0.0.1:8080/ws"
let client = try MartletClient(url, user: "swift-bot")
let lobby = try RoomName("lobby")
let welcome = try await client.connect()
try await client.join(lobby, history: 0)
print("\(welcome.user) is in \(lobby), on \(welcome.node)")

for await event in client.events {
    guard case .message(_, let message) = event, message.content.text == "!hello" else { continue }
    let sent = try await client.send("Hello, \(message.content.user)!", to: lobby)
    print("greeted \(message.content.user) at \(sent.position)")
}
