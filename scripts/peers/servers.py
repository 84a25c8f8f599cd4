"""The servers that are measured beside each other, each as two nodes with one Redis: how they are started, spoken to, and
got. All listen on loopback alone."""

import os
import shutil
import subprocess
import sys
import urllib.request

from stage import HERE, StageError, family

PACKAGES = ["nginx-light", "libnginx-mod-nchan", "rabbitmq-server"]
NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so"
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "martlet")


def python():
    return os.path.join(cache(), "bench-peers", "bin", "python")


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")


class Server:
    """One kind of server. `start` returns the processes that make up its nodes, in the order of `ports`."""

    name = protocol = path = ""
    uses_redis = True
    #: Connections that an idle run gives it: some take long to join, or need very much memory.
    idle = 15_000

    def missing(self):
        """What is not installed, or None."""
        return None

    def ports(self, stage, count):
        return [stage.port + 1 + number for number in range(count)]

    def start(self, stage, count):
        raise NotImplementedError

    def pids(self, processes):
        return [pid for process in processes for pid in family(process.pid)]


class Martlet(Server):
    name = protocol = "martlet"
    #: A program; None: the one that was built.
    martlet = None

    def start(self, stage, count, environment=None):
        processes = []
        for number, port in enumerate(self.ports(stage, count), 1):
            processes.append(stage.start(f"martlet-{number}", [self.martlet or stage.martlet, "serve"], {
                "MARTLET_PORT": str(port), "MARTLET_NODE_NAME": f"bench{number}",
                "MARTLET_REDIS_URL": f"redis://127.0.0.1:{stage.port}", "MARTLET_DRAIN_TIME": "0s",
                # One loop, as nginx has one worker: two nodes share the machine.
                "MARTLET_EVENT_LOOPS": os.environ.get("MARTLET_EVENT_LOOPS", "1"),
                "MARTLET_LIMIT_REQUESTS_PER_SECOND": "100000", "MARTLET_LIMIT_REQUEST_BURST": "100000",
                "MARTLET_LIMIT_COST_PER_SECOND": "10000000", "MARTLET_LIMIT_COST_BURST": "10000000",
                "MARTLET_LIMIT_USER_BYTES_PER_SECOND": "1GiB", "MARTLET_LIMIT_USER_BYTES_BURST": "1GiB",
                "MARTLET_LIMIT_WAITING_SENDS_PER_SESSION": "10000", "MARTLET_LIMIT_WAITING_SENDS_PER_ROOM": "10000",
                **(environment or {})}))
        for process, port in zip(processes, self.ports(stage, count)):
            stage.wait_until(process, "/readyz", lambda: is_ready(port))
        return processes


class MartletStomp(Martlet):
    """Martlet, whose clients speak STOMP."""

    name, protocol, path = "martlet-stomp", "stomp", "/stomp"

    def start(self, stage, count, environment=None):
        # All of them log in as RabbitMQ's guest.
        own = {"MARTLET_STOMP": "on", "MARTLET_LIMIT_SESSIONS_PER_USER": "100000"}
        return super().start(stage, count, {**own, **(environment or {})})


class MartletSocketIO(Martlet):
    """Martlet, whose clients speak Socket.IO with the events of socketio_server.py."""

    name, protocol = "martlet-socketio", "socketio"

    def start(self, stage, count, environment=None):
        profile = os.path.join(HERE, "socketio_profile.json")
        return super().start(stage, count, {
            "MARTLET_SOCKETIO": "on", "MARTLET_SOCKETIO_PROFILE": profile, **(environment or {})})


class MartletRelayed(Martlet):
    """Martlet with a relay that feeds event streams and an archive. Its own CPU is not the nodes'."""

    name, protocol = "martlet-relayed", "martlet"

    def start(self, stage, count, environment=None):
        relay = stage.start("relay", [self.martlet or stage.martlet, "relay"], {
            "MARTLET_REDIS_URL": f"redis://127.0.0.1:{stage.port}",
            "MARTLET_ARCHIVE": f"sqlite:{stage.path('archive.db')}"})
        # From then on nodes that start note rooms.
        stage.wait_until(relay, "reading events", lambda: "partitions have changed" in stage.tail("relay"))
        return super().start(stage, count, environment)


class MartletEvents(Martlet):
    """Martlet, whose clients read event streams and send by POST."""

    name, protocol = "martlet-events", "events"


class Before(Martlet):
    """An older build beside the one that is measured. It gathered and polled, which the one of today does not: both are off."""

    name = "before"

    def __init__(self, martlet):
        self.martlet = martlet

    def missing(self):
        return None if os.path.exists(self.martlet) else self.martlet

    def start(self, stage, count, environment=None):
        off = {"MARTLET_GATHER_TIME": "0s", "MARTLET_BUSY_POLL": "0s"}
        return super().start(stage, count, {**off, **(environment or {})})


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


class Floor(Server):
    """No server: one send(2) for each delivery, and nothing else (floor.c)."""

    name, protocol = "floor", "raw"
    uses_redis = False

    def start(self, stage, count, fault=()):
        ports = self.ports(stage, count)
        if count > 2:
            raise StageError("the floor has at most two nodes")
        links = [port + 10 for port in ports]
        processes = []
        for number, port in enumerate(ports):
            peer = links[1 - number] if count == 2 else 0
            processes.append(stage.start(
                f"floor-{number + 1}", [stage.path("floor"), str(port), str(links[number]), str(peer), *fault]))
        for process, port in zip(processes, ports):
            stage.wait_for_port(process, port)
        return processes


class Nchan(Server):
    """nchan's WebSocket publishers and subscribers in two nginx of one worker each, which share Redis."""

    name = protocol = "nchan"

    def missing(self):
        return None if program("nginx") and os.path.exists(NCHAN_MODULE) else "nginx with nchan"

    def start(self, stage, count):
        processes = []
        for number, port in enumerate(self.ports(stage, count), 1):
            directory = stage.path(f"nchan-{number}")
            os.makedirs(directory, exist_ok=True)
            user = "user root;" if os.getuid() == 0 else ""
            with open(os.path.join(directory, "nginx.conf"), "w") as file:
                file.write(NGINX.format(
                    module=NCHAN_MODULE, directory=directory, user=user, port=port, redis=stage.port))
            processes.append(stage.start(f"nchan-{number}", [
                program("nginx"), "-p", directory, "-c", "nginx.conf", "-e", os.path.join(directory, "error.log")]))
        for process, port in zip(processes, self.ports(stage, count)):
            stage.wait_for_port(process, port)
        return processes


NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 65536;
pid {directory}/nginx.pid;
load_module {module};
events {{ worker_connections 32768; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_shared_memory_size 512m;
    upstream log {{ nchan_redis_server redis://127.0.0.1:{redis}; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/room/([A-Za-z0-9_-]+)$ {{
            nchan_pubsub websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_redis_pass log;
        }}
    }}
}}
"""


class SocketIO(Server):
    """python-socketio under uvicorn, with its Redis manager (socketio_server.py)."""

    name, protocol = "python-socketio", "socketio"
    idle = 4_000

    def missing(self):
        return None if os.path.exists(python()) else "python-socketio"

    def start(self, stage, count):
        processes = [
            stage.start(f"socketio-{number}", [
                python(), os.path.join(HERE, "socketio_server.py"), str(port), f"redis://127.0.0.1:{stage.port}"])
            for number, port in enumerate(self.ports(stage, count), 1)]
        for process, port in zip(processes, self.ports(stage, count)):
            stage.wait_for_port(process, port)
        return processes


class RabbitMQ(Server):
    """Two brokers as one cluster, with the Web STOMP plugin. It keeps its own state, so there is no Redis."""

    name, protocol = "rabbitmq", "stomp"
    uses_redis = False
    idle = 1_000

    def missing(self):
        return None if os.path.exists(RABBITMQ) else "rabbitmq-server"

    def start(self, stage, count):
        names = [f"bench{number}@localhost" for number in range(1, count + 1)]
        home = stage.path("rabbitmq")
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        with open(os.path.join(home, "plugins"), "w") as file:
            file.write("[rabbitmq_web_stomp].\n")
        # Erlang's port mapper outlives whoever starts it, so it is started by us and ended with the rest.
        mapper = stage.start("epmd", ["epmd", "-address", "127.0.0.1", "-port", str(stage.port + 20)])
        stage.wait_for_port(mapper, stage.port + 20)
        processes = []
        for number, port in enumerate(self.ports(stage, count), 1):
            configuration = os.path.join(home, f"{number}.conf")
            with open(configuration, "w") as file:
                file.write(RABBITMQ_CONFIGURATION.format(port=port, stomp=port + 30))
                for index, name in enumerate(names, 1):
                    file.write(f"cluster_formation.classic_config.nodes.{index} = {name}\n")
            processes.append(stage.start(f"rabbitmq-{number}", [RABBITMQ], {
                "HOME": home, "RABBITMQ_NODENAME": names[number - 1], "RABBITMQ_CONFIG_FILE": configuration,
                "RABBITMQ_MNESIA_BASE": os.path.join(home, "mnesia"), "RABBITMQ_LOG_BASE": os.path.join(home, "log"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(home, "plugins"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_DIST_PORT": str(stage.port + 40 + number), "ERL_EPMD_PORT": str(stage.port + 20),
                "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                    "-setcookie bench -kernel inet_dist_use_interface {127,0,0,1}"}))
            # One after the other: two that form a cluster at once wait for each other's tables.
            stage.wait_for_port(processes[-1], port, seconds=120)
        return processes + [mapper]


RABBITMQ_CONFIGURATION = """
listeners.tcp = none
stomp.listeners.tcp.1 = 127.0.0.1:{stomp}
web_stomp.tcp.ip = 127.0.0.1
web_stomp.tcp.port = {port}
log.console = false
cluster_formation.peer_discovery_backend = classic_config
"""

MARTLET = Martlet()
ALL = [Floor(), MARTLET, MartletRelayed(), MartletEvents(), MartletStomp(), MartletSocketIO(), Nchan(), SocketIO(), RabbitMQ()]


def install():
    """The peers, from Debian and PyPI. Services that Debian would start are not started, nor at the next boot."""
    root = [] if os.getuid() == 0 else ["sudo"]
    quiet = root + ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"]
    services = ["nginx", "rabbitmq-server", "epmd.socket", "epmd.service"]
    if program("apt-get"):
        subprocess.run(quiet + ["apt-get", "-q", "-y", "update"], check=True)
        subprocess.run(quiet + ["apt-get", "-q", "-y", "install", "--no-install-recommends"] + PACKAGES, check=True)
        if os.path.isdir("/run/systemd/system"):
            subprocess.run(root + ["systemctl", "disable", "--now"] + services, check=False)
        for name in services[:2]:
            if os.path.exists("/etc/init.d/" + name):
                subprocess.run(root + ["update-rc.d", name, "disable"], check=False)
    else:
        print(f"bench: no apt-get here; install by hand: {' '.join(PACKAGES)}", file=sys.stderr)
    place = os.path.join(cache(), "bench-peers")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run([
        python(), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r",
        os.path.join(HERE, "requirements.txt")], check=True)
