import argparse

from tests.provider.process import ProviderProcess


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.provider")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    with ProviderProcess(options.port, options.processes) as provider:
        print(provider.url, flush=True)
        provider.join()


if __name__ == "__main__":
    main()
