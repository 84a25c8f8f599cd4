"""Pages in Chromium: RabbitMQ's examples, and the usual tutorial's calls of stomp.js and sockjs-client."""
import contextlib
import shutil
import urllib.parse

from playwright.async_api import async_playwright

from ground import Missing, check

PATIENCE = 30_000


@contextlib.asynccontextmanager
async def opening(ground):
    """A function that opens a page in a browser of its own."""
    chromium = shutil.which("chromium")
    if not chromium:
        raise Missing("Debian's chromium (apt-get install chromium)")
    jquery = ground.files / "jquery.min.js"
    async with async_playwright() as playwright:
        # The browser comes from Debian; Playwright's own is not fetched.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])

        async def open_page(path):
            page = await browser.new_page()
            await page.route("https://code.jquery.com/**", lambda route: route.fulfill(path=jquery))
            await page.goto(ground.pages + path)
            return page

        yield open_page
        await browser.close()


async def check_echo(ground):
    """RabbitMQ's echo page, with another address"""
    async with opening(ground) as open_page:
        pages = [await open_page("/echo.html") for _ in range(2)]
        for page in pages:
            await page.wait_for_function("document.querySelector('#second div').innerText.includes('/topic/test')", timeout=PATIENCE)
        await pages[0].fill("#first input", "hello 가")
        # Until the other page's subscription is in force, a message is only for the first one.
        for _ in range(5):
            await pages[0].fill("#first input", "hello 가")
            await pages[0].press("#first input", "Enter")
            await pages[0].wait_for_timeout(300)
        for page in pages:
            await page.wait_for_function("document.querySelector('#first div').innerText.includes('hello 가')", timeout=PATIENCE)


async def check_bunny(ground):
    """RabbitMQ's bunny page, with another address: what one page draws is on the other"""
    async with opening(ground) as open_page:
        pages = [await open_page("/bunny.html") for _ in range(2)]
        for page in pages:
            await page.wait_for_function("client.connected", timeout=PATIENCE)
        before = await pages[1].evaluate("lines.length")
        for stroke in range(10):
            await pages[0].mouse.move(300, 200 + 20 * stroke)
            await pages[0].mouse.down()
            for step in range(10):
                await pages[0].mouse.move(300 + 15 * step, 200 + 20 * stroke)
            await pages[0].mouse.up()
            await pages[0].wait_for_timeout(200)
        await pages[1].wait_for_function(f"lines.length > {before} + 5", timeout=PATIENCE)


async def check_tutorial(ground):
    """stomp.js over sockjs-client chooses WebSocket at each base URL, and two pages talk in the tutorials' layout"""
    async with opening(ground) as open_page:
        for base in ("/ws-stomp", "/stomp", "/stomp/chat", "/ws"):
            room = ground.room("tutorial" + base.replace("/", "-"))
            query = urllib.parse.urlencode({"url": ground.url + base, "room": room})
            pages = [await open_page(f"/tutorial.html?{query}") for _ in range(2)]
            for page in pages:
                await page.wait_for_function("ready || failure", timeout=PATIENCE)
                check(await page.evaluate("failure") is None, await page.evaluate("failure"))
                check(await page.evaluate("socket.transport") == "websocket", "another transport")
            await pages[1].wait_for_timeout(500)
            await pages[0].evaluate("enter()")
            await pages[1].evaluate("say('안녕')")
            for page in pages:
                await page.wait_for_function("seen.length >= 2", timeout=PATIENCE)
            seen = [await page.evaluate("seen.map((m) => m.message)") for page in pages]
            check(seen[0] == seen[1], f"another order: {seen}")
            check("안녕" in seen[0] and any(text.endswith("님이 입장하셨습니다.") for text in seen[0]), seen)
