/// The chat page, the client module and the description of the HTTP API, embedded in the binary.
public enum WebPage {
    /// The files by the path under which they are served.
    public static var files: [String: StaticFile] {
        [
            "/": file(PackageResources.index_html, "text/html; charset=utf-8"),
            "/martlet.js": file(PackageResources.martlet_js, "text/javascript; charset=utf-8"),
            "/martlet.d.ts": file(PackageResources.martlet_d_ts, "application/typescript; charset=utf-8"),
            "/chat.js": file(PackageResources.chat_js, "text/javascript; charset=utf-8"),
            "/chat-actions.js": file(PackageResources.chat_actions_js, "text/javascript; charset=utf-8"),
            "/chat-colours.js": file(PackageResources.chat_colours_js, "text/javascript; charset=utf-8"),
            "/chat-compose.js": file(PackageResources.chat_compose_js, "text/javascript; charset=utf-8"),
            "/chat-conversation.js": file(PackageResources.chat_conversation_js, "text/javascript; charset=utf-8"),
            "/chat-dialogs.js": file(PackageResources.chat_dialogs_js, "text/javascript; charset=utf-8"),
            "/chat-frame.js": file(PackageResources.chat_frame_js, "text/javascript; charset=utf-8"),
            "/chat-inbox.js": file(PackageResources.chat_inbox_js, "text/javascript; charset=utf-8"),
            "/chat-link.js": file(PackageResources.chat_link_js, "text/javascript; charset=utf-8"),
            "/chat-menu.js": file(PackageResources.chat_menu_js, "text/javascript; charset=utf-8"),
            "/chat-message.js": file(PackageResources.chat_message_js, "text/javascript; charset=utf-8"),
            "/chat-moderation.js": file(PackageResources.chat_moderation_js, "text/javascript; charset=utf-8"),
            "/chat-participants.js": file(PackageResources.chat_participants_js, "text/javascript; charset=utf-8"),
            "/chat-parts.js": file(PackageResources.chat_parts_js, "text/javascript; charset=utf-8"),
            "/chat-past.js": file(PackageResources.chat_past_js, "text/javascript; charset=utf-8"),
            "/chat-people.js": file(PackageResources.chat_people_js, "text/javascript; charset=utf-8"),
            "/chat-room.js": file(PackageResources.chat_room_js, "text/javascript; charset=utf-8"),
            "/chat-rooms.js": file(PackageResources.chat_rooms_js, "text/javascript; charset=utf-8"),
            "/chat-session.js": file(PackageResources.chat_session_js, "text/javascript; charset=utf-8"),
            "/chat-stars.js": file(PackageResources.chat_stars_js, "text/javascript; charset=utf-8"),
            "/chat-talk.js": file(PackageResources.chat_talk_js, "text/javascript; charset=utf-8"),
            "/chat.css": file(PackageResources.chat_css, "text/css; charset=utf-8"),
            "/openapi.json": file(PackageResources.openapi_json, "application/json; charset=utf-8"),
            "/icon.svg": file(PackageResources.icon_svg, "image/svg+xml"),
        ]
    }

    private static func file(_ bytes: [UInt8], _ type: String) -> StaticFile {
        StaticFile(contentType: type, bytes: bytes)
    }
}
