"""What is known of an image beside its own labels. The settings follow NVIDIA's published images; none was here."""

from bai_agent.runtimes.engine_images import labels_of

NGC = {
    "Env": ["PATH=/usr/bin", "NVIDIA_PRODUCT_NAME=PyTorch", "CUDA_VERSION=12.4.1", "NVIDIA_REQUIRE_CUDA=cuda>=9.0"],
    "Labels": {"com.nvidia.build.id": "1", "ai.backend.resource.preferred.shmem": "8g"},
}


def test_images_of_nvidia_s_catalogue_get_what_their_programs_need_and_keep_what_they_say() -> None:
    labels = labels_of(NGC)
    assert labels["ai.backend.runtime-type"] == "python"
    assert labels["ai.backend.service-ports"] == "jupyter:http:8888"
    assert {"--ServerApp.base_url={base_url}", "--ServerApp.token="} <= set(labels["bai.app.jupyter"].split())
    assert labels["ai.backend.resource.preferred.shmem"] == "8g"
    assert labels["bai.environ.NVIDIA_REQUIRE_CUDA"] == "cuda>=9.0"
    assert labels_of({"Labels": {"com.nvidia.build.id": "1"}})["ai.backend.resource.preferred.shmem"] == "1g"


def test_others_get_nothing_added() -> None:
    assert labels_of({"Labels": None, "Env": ["A=1"]}) == {}
    cuda = {"Labels": {"com.nvidia.cuda.version": "12"}, "Env": ["CUDA_VERSION=12.4", "NVIDIA_PRODUCT_NAME=CUDA"]}
    assert labels_of(cuda) == {
        "com.nvidia.cuda.version": "12",
        "bai.environ.CUDA_VERSION": "12.4",
    }
